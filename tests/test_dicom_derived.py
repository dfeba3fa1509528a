from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import hrinet
from dicom_builder import phantom, write_series
from dicom_tools import SECRET, dciodvfy_errors, patient
from hrinet.errors import RequestError, RunError
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.sidecar import schema
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
from hrinet.volume import Volume

SHAPE = (4, 12, 10)


@pytest.fixture
def scan(tmp_path):
    folder = tmp_path / "scan"
    write_series(folder, phantom(SHAPE), bits_stored=12, **patient())
    return folder


def derive(source, out, *, factor=3, method="linear", overwrite=False, label=False, **dicom):
    """Derive a series and read its images, by Instance Number."""
    result = interpolate_file(
        source,
        Outputs(volume=out, dicom=DicomOptions(**dicom), overwrite=overwrite),
        Options(request=Request(factor=factor), method=method, label=label),
    )
    assert result["output"] == str(out)
    return images(out) if out.is_dir() else []


def images(folder: Path):
    return sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda d: d.InstanceNumber)


def test_originals_are_their_sources_stored_value_for_stored_value(scan, tmp_path):
    made = derive(scan, tmp_path / "out")
    sources = images(scan)
    assert len(made) == 10
    for image, source in zip(made[::3], sources, strict=True):
        assert np.array_equal(image.pixel_array, source.pixel_array)
        assert image.pixel_array.dtype == source.pixel_array.dtype
        for keyword in (
            "RescaleSlope", "RescaleIntercept", "BitsStored", "HighBit", "PixelRepresentation",
            "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
            "AcquisitionTime", "Exposure", "WindowCenter", "WindowWidth",
        ):  # fmt: skip
            assert image[keyword].value == source[keyword].value, keyword
        assert image.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert [ref.ReferencedSOPInstanceUID for ref in image.SourceImageSequence] == [
            source.SOPInstanceUID
        ]
        assert "DerivationCodeSequence" not in image
        assert "Unchanged copy" in image.DerivationDescription


def test_synthetic_slices_say_what_they_are(scan, tmp_path):
    made = derive(scan, tmp_path / "out")
    sources = images(scan)
    image = made[4]  # A third of the way from the second to the third source slice.
    assert image.ImageType == ["DERIVED", "SECONDARY", "AXIAL", "SYNTHETIC"]
    assert [ref.ReferencedSOPInstanceUID for ref in image.SourceImageSequence] == [
        sources[1].SOPInstanceUID,
        sources[2].SOPInstanceUID,
    ]
    [code] = image.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113085", "DCM")
    assert "method linear, at t = 0.333333333" in image.DerivationDescription
    assert image.ImagePositionPatient == pytest.approx([-50, -60, 5 + 5 / 3], abs=1e-9)
    assert image.SpacingBetweenSlices == pytest.approx(5 / 3)
    assert image.SliceThickness == 5
    assert image.KVP == 120
    assert image.AcquisitionNumber == 7
    for keyword in ("AcquisitionTime", "ContentTime", "Exposure", "XRayTubeCurrent"):
        assert keyword not in image
    low, high = (sources[k].pixel_array.astype(float) for k in (1, 2))
    assert np.max(np.abs(image.pixel_array - (2 * low + high) / 3)) <= 0.5 + 1e-9
    equipment = image.ContributingEquipmentSequence[-1]
    assert equipment.ManufacturerModelName == "HRINet"
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert image.Manufacturer == "ACME"


def test_identity_is_new_and_the_rest_is_carried_over(scan, tmp_path):
    made = derive(scan, tmp_path / "out")
    source = images(scan)[0]
    for image in made:
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID",
                        "StudyDate", "AccessionNumber", "InstitutionName"):  # fmt: skip
            assert image[keyword].value == source[keyword].value
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.SeriesNumber == 1005
        assert image.SeriesDescription == f"HRINet 1.67 mm: {SECRET} series"
    assert str(made[0].PatientName) == f"{SECRET}^Jürgen"
    uids = {image.SOPInstanceUID for image in made}
    assert len(uids) == 10
    assert not uids & {image.SOPInstanceUID for image in images(scan)}
    assert [image.InstanceNumber for image in made] == list(range(1, 11))


def test_a_rerun_gives_the_same_bytes_and_another_request_other_uids(scan, tmp_path):
    derive(scan, tmp_path / "a")
    derive(scan, tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    other = derive(scan, tmp_path / "c", factor=2)
    cubic = derive(scan, tmp_path / "d", method="cubic")
    packed = derive(scan, tmp_path / "e", compress="rle")
    series = [images(tmp_path / "a"), other, cubic]
    assert len({made[0].SeriesInstanceUID for made in series}) == 3
    assert packed[0].SOPInstanceUID == series[0][0].SOPInstanceUID  # Lossless: the same image.


def test_no_private_attribute_and_no_identifier_where_it_does_not_belong(scan, tmp_path, capfd):
    preview, report = tmp_path / "p.png", tmp_path / "r.json"
    interpolate_file(
        scan,
        Outputs(volume=tmp_path / "out", preview=preview, report=report),
        Options(request=Request(factor=2), method="linear"),
    )
    for image in images(tmp_path / "out"):
        assert not any(element.tag.is_private for element in image.iterall())
    for path in (tmp_path / "out.json", report):
        assert SECRET not in path.read_text()
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize("options", [{}, {"enhanced": True}, {"burn_in": True}])
def test_dciodvfy_finds_no_error(scan, tmp_path, options):
    derive(scan, tmp_path / "out", **options)
    for path in (tmp_path / "out").iterdir():
        assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("compress", ["rle", "jpegls", "j2k"])
@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("low", [0, -1024])
def test_compression_loses_nothing(tmp_path, compress, enhanced, low):
    write_series(tmp_path / "scan", phantom((3, 40, 36), low=low, high=3000), **patient())
    derive(tmp_path / "scan", tmp_path / "plain", enhanced=enhanced)
    derive(tmp_path / "scan", tmp_path / "small", enhanced=enhanced, compress=compress)
    for name in sorted(p.name for p in (tmp_path / "plain").iterdir()):
        plain = pydicom.dcmread(tmp_path / "plain" / name)
        small = pydicom.dcmread(tmp_path / "small" / name)
        assert small.file_meta.TransferSyntaxUID.is_compressed
        assert np.array_equal(plain.pixel_array, small.pixel_array)
        assert small.get("LossyImageCompression", "00") == "00"


def test_stored_type_and_rescale_of_every_slice_are_kept(tmp_path):
    values = phantom(SHAPE, low=-500, high=500)
    for k, (slope, intercept) in enumerate([(1, -1024), (2, -1000), (0.5, 10), (1, 0)]):
        write_series(
            tmp_path / "scan", values[k : k + 1], [5.0 * k], first=k + 1,
            **patient(RescaleSlope=slope, RescaleIntercept=intercept),
        )  # fmt: skip
    made = derive(tmp_path / "scan", tmp_path / "out", factor=2)
    for image, source in zip(made[::2], images(tmp_path / "scan"), strict=True):
        assert np.array_equal(image.pixel_array, source.pixel_array)
        assert (image.RescaleSlope, image.RescaleIntercept) == (
            source.RescaleSlope, source.RescaleIntercept,
        )  # fmt: skip
    assert made[3].RescaleSlope == 2  # Of the first neighbour.
    filled = hrinet.interpolate(hrinet.read(tmp_path / "scan"), factor=2, method="linear")
    back = hrinet.read(tmp_path / "out")
    assert np.max(np.abs(back.array - filled.array)) <= 1.0 + 1e-3  # Half a step of slope 2.


def test_padding_beyond_bits_stored_gets_the_bits_it_needs(tmp_path):
    values = phantom(SHAPE, high=4095).astype(np.uint16)
    values[:, :2] = 63536
    write_series(tmp_path / "scan", values, bits_stored=12, **patient(PixelPaddingValue=63536))
    made = derive(tmp_path / "scan", tmp_path / "out")
    assert all(image.BitsStored == 16 for image in made)
    assert np.array_equal(made[0].pixel_array, values[0])
    assert np.all(made[1].pixel_array[:2] == 63536)


def test_values_beyond_the_stored_type_are_clipped_and_counted(tmp_path):
    values = np.zeros(SHAPE, np.uint16)
    values[1:3] = 4095  # Cubic overshoots between them.
    write_series(tmp_path / "scan", values, bits_stored=12, **patient())
    result = interpolate_file(
        tmp_path / "scan",
        Outputs(volume=tmp_path / "out"),
        Options(request=Request(factor=2), method="cubic"),
    )
    made = images(tmp_path / "out")
    assert max(int(image.pixel_array.max()) for image in made) <= 4095
    assert any("outside what the stored values" in note for note in result["notes"])


def test_uneven_slices_keep_their_places(tmp_path):
    positions = [0.0, 5.0, 12.0, 17.0]
    write_series(tmp_path / "scan", phantom(SHAPE), positions, **patient())
    made = derive(tmp_path / "scan", tmp_path / "out", factor=2)
    places = [float(image.ImagePositionPatient[2]) for image in made]
    assert places[::1][:3] == [0, 2.5, 5]
    assert {0.0, 5.0, 12.0, 17.0} <= set(places)
    assert all("SpacingBetweenSlices" not in image for image in made)


def test_numbers_follow_the_source(tmp_path):
    array = phantom(SHAPE)
    write_series(tmp_path / "scan", array, [15.0, 10.0, 5.0, 0.0], **patient())
    made = derive(tmp_path / "scan", tmp_path / "out", factor=2)
    assert [float(image.ImagePositionPatient[2]) for image in made[:3]] == [15, 12.5, 10]
    assert np.array_equal(made[0].pixel_array, array[0])
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[0] == "0001.dcm"


def test_lossy_sources_stay_lossy(tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "7.5",
             "LossyImageCompressionMethod": "ISO_14495_1"}  # fmt: skip
    array = phantom((3, 12, 10))
    write_series(tmp_path / "scan", array[:2], [0.0, 5.0], **patient())
    write_series(tmp_path / "scan", array[2:], [10.0], first=3, **patient(**lossy))
    made = derive(tmp_path / "scan", tmp_path / "out", factor=2)
    assert ["LossyImageCompression" in image for image in made] == [False] * 3 + [True] * 2
    assert made[3].LossyImageCompressionRatio == 7.5


def test_the_mark_is_on_synthetic_slices_only(scan, tmp_path):
    big = tmp_path / "big"
    clean = patient(BurnedInAnnotation="NO")
    write_series(big, np.full((3, 128, 128), 1000, np.uint16), **clean)
    plain = derive(big, tmp_path / "plain", factor=2)
    marked = derive(big, tmp_path / "marked", factor=2, burn_in=True)
    for index, (a, b) in enumerate(zip(plain, marked, strict=True)):
        same = np.array_equal(a.pixel_array, b.pixel_array)
        assert same == (index % 2 == 0)
        assert b.BurnedInAnnotation == ("NO" if same else "YES")
    corner = marked[1].pixel_array[100:, :60]
    assert corner.max() == 4024
    assert np.all(marked[1].pixel_array[:90] == 1000)


def test_a_zip_holds_the_same_files(scan, tmp_path):
    derive(scan, tmp_path / "out")
    derive(scan, tmp_path / "packed.zip")
    a, b = hrinet.read(tmp_path / "out"), hrinet.read(tmp_path / "packed.zip")
    assert np.array_equal(a.array, b.array)
    assert a.info.series_uid == b.info.series_uid


def test_volumes_in_memory_find_their_scan_again(scan, tmp_path):
    volume = hrinet.interpolate(hrinet.read(scan), factor=3, method="linear")
    hrinet.write(volume, tmp_path / "api")
    made, wanted = images(tmp_path / "api"), derive(scan, tmp_path / "out")
    for a, b in zip(made, wanted, strict=True):
        assert np.array_equal(a.pixel_array, b.pixel_array)
        assert a.ImageType == b.ImageType
        assert a.SourceImageSequence == b.SourceImageSequence


def test_a_changed_original_is_refused(scan, tmp_path):
    volume = hrinet.read(scan)
    changed = volume.array.copy()
    changed[1, 3, 3] += 1
    fake = Volume(
        array=changed, geometry=volume.geometry, provenance=volume.provenance, info=volume.info
    )
    with pytest.raises(RequestError, match="slice 1 says that it is an exact copy"):
        hrinet.write(fake, tmp_path / "out")
    strangers = tuple(replace(one, source_id="1.2.3") for one in volume.provenance)
    with pytest.raises(RequestError, match="comes from no slice of"):
        hrinet.write(replace(volume, provenance=strangers), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_sidecar_names_file_and_uid(scan, tmp_path):
    import jsonschema

    made = derive(scan, tmp_path / "out")
    content = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(content, schema())
    for entry, image in zip(content["slices"], made, strict=True):
        assert entry["uid"] == image.SOPInstanceUID
        path = tmp_path / "out" / entry["file"]
        assert pydicom.dcmread(path).SOPInstanceUID == image.SOPInstanceUID
    assert content["dicom"]["series_uid"] == made[0].SeriesInstanceUID


def test_simpleitk_reads_the_same(scan, tmp_path):
    derive(scan, tmp_path / "out")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    image = reader.Execute()
    ours = hrinet.read(tmp_path / "out")
    assert np.array_equal(sitk.GetArrayFromImage(image), ours.array)
    assert np.allclose(image.GetOrigin(), ours.geometry.origins[0], atol=1e-4)
    assert image.GetSpacing() == pytest.approx((0.8, 0.7, 5 / 3), abs=1e-4)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"Modality": "MR"}, "its modality is MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
    ],
)
def test_what_is_no_ct_volume_is_refused(tmp_path, tags, sentence):
    write_series(tmp_path / "scan", phantom(SHAPE), **patient(**tags))
    with pytest.raises(RequestError, match=sentence):
        derive(tmp_path / "scan", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.json").exists()


def test_a_derived_series_is_no_source(scan, tmp_path):
    derive(scan, tmp_path / "out")
    with pytest.raises(RequestError, match="series that HRINet made"):
        derive(tmp_path / "out", tmp_path / "again")


def test_refusals_of_outputs(scan, tmp_path):
    with pytest.raises(RequestError, match="is the input's folder, lies in it or holds it"):
        derive(scan, scan / "out")
    with pytest.raises(RequestError, match="is the input's folder, lies in it or holds it"):
        derive(scan, tmp_path, overwrite=True)
    with pytest.raises(RequestError, match="a segmentation is no CT"):
        derive(scan, tmp_path / "out", label=True, method="auto")
    with pytest.raises(RequestError, match=r"--enhanced is for DICOM output"):
        derive(scan, tmp_path / "out.nii", enhanced=True)
    with pytest.raises(RequestError, match="must not have anything burned in"):
        derive(scan, tmp_path / "out", enhanced=True, burn_in=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan"]


def test_missing_required_attributes_are_made_up_and_bad_ones_left_out(tmp_path):
    array = phantom(SHAPE)
    write_series(tmp_path / "scan", array, **patient(StudyInstanceUID="", AcquisitionNumber=""))
    for path in (tmp_path / "scan").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new(0x00101020, "LO", "not a number")  # Patient's Size, a decimal.
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    made = derive(tmp_path / "scan", tmp_path / "out")
    assert len({image.StudyInstanceUID for image in made}) == 1
    assert made[0].StudyInstanceUID.startswith("2.25.")
    assert made[0].FrameOfReferenceUID.startswith("2.25.")
    assert made[1].AcquisitionNumber is None
    notes = json.loads((tmp_path / "out.json").read_text())["run"]["notes"]
    assert "the source has no StudyInstanceUID, so one was made from its SeriesInstanceUID" in notes
    for path in (tmp_path / "out").iterdir():
        assert dciodvfy_errors(path) == []


def test_other_character_sets(tmp_path):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    write_series(
        tmp_path / "scan", phantom(SHAPE),
        **patient(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name),
    )  # fmt: skip
    made = derive(tmp_path / "scan", tmp_path / "out")
    assert str(made[1].PatientName) == name
    assert made[1].SpecificCharacterSet == ["", "ISO 2022 IR 87"]


def test_values_beyond_int16_are_kept(tmp_path):
    values = phantom(SHAPE, high=65535)
    write_series(tmp_path / "scan", values, **patient(RescaleIntercept=0))
    made = derive(tmp_path / "scan", tmp_path / "out", factor=2)
    for image, source in zip(made[::2], values, strict=True):
        assert np.array_equal(image.pixel_array, source)


def test_a_full_disk_leaves_nothing(scan, tmp_path, monkeypatch):
    written = []

    def full(path, data):
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return original(path, data)

    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"0004.dcm cannot be written: No space left on device"):
        derive(scan, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


def test_straightened_slices_are_no_copies(tmp_path):
    places = [(-50.0, -60.0 + 1.5 * k, 5.0 * k) for k in range(4)]
    write_series(tmp_path / "scan", phantom(SHAPE), places, **patient(GantryDetectorTilt=16.7))
    interpolate_file(
        tmp_path / "scan",
        Outputs(volume=tmp_path / "out"),
        Options(request=Request(factor=2), method="linear", untilt=True),
    )
    made = images(tmp_path / "out")
    assert made[0].Rows > 12
    assert "GantryDetectorTilt" not in made[0]
    assert made[0].DerivationCodeSequence[0].CodeValue == "113085"
    assert "moved in its plane" in made[0].DerivationDescription
    assert hrinet.read(tmp_path / "out").geometry.tilt_deg < 0.01
    assert dciodvfy_errors(tmp_path / "out" / "0001.dcm") == []
