"""A small DICOMweb server for tests, which can be bad."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmwrite

from node_tools import make_object


class Server:
    """The three paths of DICOMweb that the watch uses."""

    def __init__(self):
        self.series = {}
        self.is_down = False
        self.page = 2
        self.cut = None
        self.drop_at = None
        self.requests = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # Clients that go away are what is tested.
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/dw"

    def put(self, series, count, **attributes):
        objects = [make_object(series, number, **attributes) for number in range(1, count + 1)]
        self.series[f"1.2.3.{series}.2"] = objects

    def answer(self, request):
        parts = urlsplit(request.path)
        self.requests.append(parts.path)
        status, kind, body = 200, "application/dicom+json", b"[]"
        if self.is_down:
            status = 503
        elif parts.path == "/dw/series":
            offset = int(parse_qs(parts.query)["offset"][0])
            some = list(self.series.items())[offset : offset + self.page]
            body = json.dumps([self.row(uid, objects) for uid, objects in some]).encode()
        else:
            objects = self.series[parts.path.rpartition("/")[2]]
            kind = 'multipart/related; type="application/dicom"; boundary="edge"'
            body = b""
            for one in objects:
                file = BytesIO()
                dcmwrite(file, one, enforce_file_format=True)
                body += b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + file.getvalue()
            body += b"\r\n--edge--\r\n"
            if self.cut is not None:
                body = body[: self.cut]
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body if self.drop_at is None else body[: self.drop_at])
        if self.drop_at is not None:
            request.close_connection = True

    def row(self, uid, objects):
        texts = {
            "0020000D": objects[0].StudyInstanceUID,
            "0020000E": uid,
            "00080060": objects[0].Modality,
            "0008103E": objects[0].SeriesDescription,
            "00201209": len(objects),
            "00080020": objects[0].get("StudyDate", ""),
        }
        return {tag: {"vr": "LO", "Value": [value]} for tag, value in texts.items()}

    def close(self):
        self.http.shutdown()
        self.http.server_close()
