"""A real Graphite: `python graphite_web.py FOLDER PORT`, run by the Python that has graphite-web, which is not the one of the tests.

Its own WSGI application on the standard library's server, as behind any other; series come from whisper files in FOLDER/whisper. It keeps
answers for a minute, which installations with memcached do, so that a provider that is content with an old answer is caught.
Not here: Carbon (what it would do is write those files) and Cairo (only pictures need it, and it is a library of the system).
"""

import os
import sys
import types
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

folder, port = Path(sys.argv[1]), int(sys.argv[2])

settings = types.ModuleType("graphite_web_settings")
settings.SECRET_KEY = "a test's"
settings.STORAGE_DIR = str(folder)
settings.LOG_DIR = str(folder)
settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
sys.modules[settings.__name__] = settings
sys.modules["cairocffi"] = types.ModuleType("cairocffi")
os.environ["GRAPHITE_SETTINGS_MODULE"] = settings.__name__
(folder / "whisper").mkdir(exist_ok=True)

from graphite.wsgi import application  # noqa: E402 - the settings come first


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests: the log is for what goes wrong."""


make_server("127.0.0.1", port, application, handler_class=Quiet).serve_forever()
