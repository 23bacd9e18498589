"""The load tester, mostly as a real process that is talked to over HTTP."""
