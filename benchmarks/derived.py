"""What writing a derived DICOM series costs: seconds and memory beside a NIfTI file.

Run: python benchmarks/derived.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ct, machine, publish, table

_RUN = """
import json, sys, time
from common import peak_mb
from hrinet.io.dicom_options import DicomOptions
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
from pathlib import Path
source, output, options = sys.argv[1:4]
started, cpu = time.perf_counter(), time.process_time()
result = interpolate_file(
    source,
    Outputs(volume=Path(output), dicom=DicomOptions(**json.loads(options))),
    Options(method="linear", request=Request(factor=4, stop=100)),
)
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "cpu": time.process_time() - cpu,
    "peak_mb": peak_mb(),
    "slices": result["plan"]["slices"],
}))
"""

_OUTPUTS: tuple[tuple[str, str, dict[str, object]], ...] = (
    (".nii", "nifti.nii", {}),
    ("folder", "out", {}),
    ("folder, RLE", "rle", {"compress": "rle"}),
    ("folder, JPEG-LS", "jpegls", {"compress": "jpegls"}),
    ("folder, JPEG 2000", "j2k", {"compress": "j2k"}),
    (".zip", "zipped.zip", {}),
    ("Enhanced", "enhanced", {"enhanced": True}),
)


def main() -> None:
    source = ct("test/lidc_0001")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for title, output, options in _OUTPUTS:
            path = Path(name) / output
            finished = subprocess.run(
                [sys.executable, "-c", _RUN, str(source), str(path), json.dumps(options)],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parent,
            )
            result = json.loads(finished.stdout)
            files = [path] if path.is_file() else list(path.iterdir())
            rows.append(
                [
                    title,
                    f"{result['seconds']:.1f}",
                    f"{result['cpu']:.1f}",
                    f"{result['peak_mb']:.0f}",
                    f"{sum(file.stat().st_size for file in files) / 1e6:.0f}",
                ]
            )
            print(rows[-1], file=sys.stderr)
            for file in files:
                file.unlink()
    text = [
        "# Writing derived DICOM",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/derived.py`.",
        "",
        f"`test/lidc_0001`, its first 100 slices to {result['slices']} (JPEG-LS files, 512 x 512, "
        "2.5 mm gaps), method linear, from file to file; peak resident size of the whole process.",
        "",
        table(("output", "s", "CPU s", "peak MB", "MB on disk"), rows),
    ]
    publish("derived", "\n".join(text))


if __name__ == "__main__":
    main()
