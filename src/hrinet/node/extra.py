"""What the node needs beyond the default install: the ``[node]`` extra."""

from __future__ import annotations

import importlib.util
import logging

from hrinet.errors import RequestError

_NEEDED = {"pynetdicom": "pynetdicom", "dicomweb_client": "dicomweb-client"}


def require_node_extra() -> None:
    """Check that what the DICOM network needs is installed, without importing it.

    Raises:
        RequestError: naming what is missing.
    """
    missing = [name for module, name in _NEEDED.items() if not importlib.util.find_spec(module)]
    if missing:
        raise RequestError(
            f"the DICOM network needs {', '.join(missing)}, which is not installed; "
            "run: pip install 'hrinet[node]'"
        )


def silence_libraries() -> None:
    """Keep the libraries' own logs, which show identifiers of patients, out of ours.

    pynetdicom logs the identifiers of queries, dicomweb-client and urllib3 log URLs with UIDs.
    """
    from pynetdicom import _config

    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    # Files are sent as they lie on disk, without being decoded.
    _config.STORE_SEND_CHUNKED_DATASET = True
    for name in ("pynetdicom", "dicomweb_client", "urllib3", "pydicom"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
