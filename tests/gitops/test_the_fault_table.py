"""What can go wrong between a failed release and its commit: 32 cases, and for each the tests that make it happen.

The tests carry the numbers (`@pytest.mark.fault(11)`), and are found by reading the files, so nothing is run twice. The table below names them as well: a test
that is renamed, removed or loses its mark fails here, also when others of the same case are left.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = ("gitops", "api", "core", "engine", "flux")
SIGKILL = "one_record_and_one_revert_wherever_the_process_is_killed"
CRASHES = (
    "a_crash_at_any_step_leaves_one_record_of_each_in_the_ref",
    "a_crash_at_any_step_leaves_one_record_and_one_revert",
    "crash_after_crash_still_comes_to_an_end",
    "processes_killed_in_the_middle_of_git_leave_one_of_each",
    SIGKILL,
)
FAULTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "two controllers push to one branch",
        (
            "eight_clusters_that_push_to_one_branch_at_once_lose_nothing",
            "mirrors_that_commit_at_once_make_one_line_of_commits",
            "a_competing_pusher_costs_a_second_look_and_both_changes_stay",
            "two_replicas_at_once_leave_one_of_each",
        ),
    ),
    2: (
        "a person has reverted already",
        (
            "who_was_there_first_keeps_the_manifest_and_the_rest_is_written",
            "a_person_who_is_faster_with_the_same_line_wins",
            "the_branch_is_compared_with_the_failed_image_and_the_one_before",
        ),
    ),
    3: (
        "the branch has moved on to a third version",
        (
            "who_was_there_first_keeps_the_manifest_and_the_rest_is_written",
            "a_person_who_is_faster_with_the_same_line_wins",
            "the_branch_is_compared_with_the_failed_image_and_the_one_before",
        ),
    ),
    4: ("every push is stale", ("a_branch_that_never_stands_still_does_not_hold_up_the_other",)),
    5: (
        "wrong or rotated credentials",
        (
            "a_wrong_password_is_tried_once_until_the_secret_changes",
            "a_secret_that_is_mended_while_the_old_one_is_refused_is_tried_at_once",
        ),
    ),
    6: (
        "known_hosts that do not fit, or none",
        ("ssh_uses_the_key_and_the_known_hosts_of_the_secret_and_no_others", "ssh_without_known_hosts_is_refused"),
    ),
    7: (
        "a protected branch",
        (
            "a_protected_branch_blocks_reverts_and_not_records",
            "a_closed_branch_is_not_knocked_at_once_for_each_run",
            "auto_pushes_where_it_may_and_asks_where_it_may_not",
            "a_crash_between_a_refused_push_and_its_pull_request_asks_once",
        ),
    ),
    8: (
        "signed commits are required",
        (
            "a_branch_that_wants_signatures_and_gets_none_says_so_and_takes_them_later",
            "records_reverts_and_tags_are_signed_by_ssh",
        ),
    ),
    9: (
        "repository or branch gone or moved",
        (
            "a_repository_that_is_not_there_blocks_its_sink_only",
            "a_branch_that_is_gone_blocks_the_revert_and_not_the_record",
            "a_redirect_is_not_followed_with_credentials",
        ),
    ),
    10: (
        "the disk is full, read-only or damaged",
        (
            "a_disk_that_is_full_stops_its_sink_alone_and_nothing_half_done_is_pushed",
            "a_folder_that_cannot_be_made_is_trouble_of_this_operator",
            "a_damaged_mirror_is_mended_on_the_way",
        ),
    ),
    11: ("SIGKILL after the push, before its note", (*CRASHES, "a_push_that_arrives_after_its_process_died_doubles_nothing")),
    12: (
        "SIGKILL between commit and push, push and pull request",
        (
            *CRASHES,
            "a_crash_at_any_step_leaves_one_of_each",
            "a_crash_while_a_pull_request_is_closed_says_why_at_most_once",
            "a_crash_between_a_refused_push_and_its_pull_request_asks_once",
        ),
    ),
    13: (
        "the reply is lost",
        (
            "a_reply_that_is_lost_after_the_push_doubles_nothing",
            "a_reply_that_is_lost_is_found_again",
            "a_push_that_arrives_after_its_process_died_doubles_nothing",
        ),
    ),
    14: (
        "two replicas drain at once",
        (
            "two_replicas_at_once_leave_one_of_each",
            "two_replicas_at_once_leave_one_pull_request_and_one_tag",
            "what_another_replica_finished_is_never_taken_back",
        ),
    ),
    15: (
        "the same lines have changed otherwise",
        ("what_has_become_of_the_file_is_written_about_and_never_guessed", "several_places_are_never_a_guess"),
    ),
    16: (
        "the manifest has moved",
        (
            "a_manifest_that_has_moved_is_found_where_it_is",
            "what_has_become_of_the_file_is_written_about_and_never_guessed",
            "several_places_are_never_a_guess",
        ),
    ),
    17: (
        "several files, containers, init containers",
        (
            "all_containers_go_back_together_and_init_containers_with_them",
            "other_workloads_with_the_same_image_are_left_alone",
            "the_one_value_goes_back_and_nothing_else",
        ),
    ),
    18: (
        "tag and digest, split fields, ports",
        ("tag_and_digest_go_back_as_one", "the_port_of_a_registry_is_no_tag", "the_one_value_goes_back_and_nothing_else"),
    ),
    19: (
        "anchors, duplicates, documents, flow, block scalars",
        (
            "only_the_value_changes",
            "what_is_shared_ambiguous_or_no_yaml_is_refused_with_its_reason",
            "in_any_file_only_the_wanted_leaf_differs",
            "the_one_value_goes_back_and_nothing_else",
        ),
    ),
    20: (
        "CRLF, BOM, tabs, no newline, no UTF-8",
        (
            "only_the_value_changes",
            "a_file_that_is_no_utf8_is_refused",
            "in_any_file_only_the_wanted_leaf_differs",
            "the_one_value_goes_back_and_nothing_else",
        ),
    ),
    21: (
        "submodule, symlink, large file, mode, SOPS, template",
        (
            "modes_stay_and_what_is_no_plain_file_is_not_touched",
            "what_has_become_of_the_file_is_written_about_and_never_guessed",
            "symlinks_and_submodules_are_no_files_and_odd_paths_are",
            "what_is_shared_ambiguous_or_no_yaml_is_refused_with_its_reason",
        ),
    ),
    22: (
        "huge repository, huge file, no filters",
        (
            "fifty_thousand_files_and_a_huge_one_are_no_burden",
            "blobs_come_in_one_go_and_only_once",
            "paths_and_sizes_outside_the_limits_are_not_edited_and_the_reason_is_said",
        ),
    ),
    23: (
        "429, 403, 502, and servers that flap",
        (
            "a_server_that_is_up_and_down_gets_every_outcome_once",
            "a_server_in_trouble_is_tried_again",
            "a_throttled_forge_is_left_alone",
            "a_forge_that_wants_to_be_left_alone_is_left_alone_by_all_sinks",
            "what_began_while_the_forge_was_away_shows_its_end_only",
        ),
    ),
    24: (
        "a pull request is closed, squashed, edited, or loses its base",
        (
            "a_no_is_remembered_and_the_next_run_may_ask_anew",
            "a_merge_that_made_another_commit_is_a_merge",
            "a_base_that_is_gone_leaves_the_pull_request_alone",
            "a_base_that_moved_is_proposed_anew",
            "what_others_add_to_our_branch_is_never_overwritten",
        ),
    ),
    25: (
        "an image bot sets the rejected tag again",
        (
            "the_second_time_is_left_to_a_person_and_the_policy_is_named",
            "it_ends_by_a_word_a_day_another_limit_or_by_hand",
            "another_release_is_taken_back_as_ever",
            "a_pull_request_that_was_merged_counts",
            "whenever_the_operator_dies_there_is_one_commit",
            "the_loop_of_bot_and_operator_ends_after_one_turn",
            "one_revert_then_the_breaker_until_somebody_says_so",
            "a_bot_that_is_faster_than_flux_changes_nothing",
        ),
    ),
    26: ("the revert is applied in part", ("what_an_engine_made_of_half_a_revert_is_not_reverted_again",)),
    27: ("webhooks are lost, forged, replayed", ("an_answer_of_a_person_is_seen_by_looking_and_by_nothing_else",)),
    28: (
        "only one of record and revert can be written",
        (
            "records_that_are_refused_do_not_hold_up_the_revert",
            "a_protected_branch_blocks_reverts_and_not_records",
            "the_record_names_the_commit_that_took_its_run_back",
            "a_record_that_had_to_wait_names_the_commit_at_once",
            "a_revert_that_has_to_wait_is_named_when_it_is_there",
        ),
    ),
    29: (
        "words that forge trailers, or have no end",
        (
            "no_reason_can_forge_a_trailer",
            "any_reason_stays_on_its_line",
            "a_record_is_never_larger_than_32_kib",
            "words_from_the_cluster_cannot_speak_for_us",
        ),
    ),
    30: (
        "a sink that wants git to run something",
        (
            "a_bad_sink_is_refused_by_the_schema",
            "a_bad_sink_is_refused_by_the_parser_with_its_path",
            "a_sink_that_cannot_be_read_says_so_and_works_when_mended",
            "no_other_protocol_is_spoken",
            "no_path_is_built_from_a_name_that_is_none",
            "secrets_are_fluxs_and_reach_neither_arguments_nor_files",
        ),
    ),
    31: (
        "a server that hangs or dribbles",
        (
            "a_server_that_never_answers_is_given_up_with_all_its_processes",
            "a_server_that_dribbles_is_given_up_with_its_processes_and_its_turn",
            "a_server_that_hangs_delays_no_other",
        ),
    ),
    32: (
        "everything fails at once",
        (
            "five_hundred_failures_at_once_are_few_pushes_and_all_are_written",
            "many_outcomes_are_written_in_order_and_with_few_pushes",
            "a_closed_branch_is_not_knocked_at_once_for_each_run",
        ),
    ),
}


@functools.cache
def marked() -> dict[int, set[str]]:
    """Names of the tests that carry each number, without `test_`."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted(path for folder in FOLDERS for path in (TESTS / folder).glob("test_*.py")):
        module = ast.parse(path.read_text(), str(path))
        of_all = [number for node in module.body if _is_pytestmark(node) for number in _numbers(node)]
        for node in module.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                numbers = [number for decorator in node.decorator_list for number in _numbers(decorator)]
                assert not numbers or node.name.startswith("test_"), f"{path.name}: {node.name} is no test"
                for number in [*numbers, *of_all]:
                    if node.name.startswith("test_"):
                        found[number].add(node.name.removeprefix("test_"))
    return found


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def _numbers(node: ast.AST) -> Iterator[int]:
    """Those of every `pytest.mark.fault(...)` in it."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "fault":
            yield from (argument.value for argument in call.args if isinstance(argument, ast.Constant) and isinstance(argument.value, int))


def test_there_are_thirty_two() -> None:
    assert list(FAULTS) == list(range(1, 33))
    assert marked().keys() == FAULTS.keys()


@pytest.mark.parametrize("number", FAULTS, ids=lambda number: f"{number} {FAULTS[number][0]}")
def test_every_fault_has_its_tests(number: int) -> None:
    assert marked()[number] == set(FAULTS[number][1])
