"""Which attributes of a source a derived image carries over, by module of PS3.3.

What is not listed is not carried over: private attributes, overlays and icons, digital signatures,
and what describes the source object itself rather than its patient, study, scanner or technique.
"""

from __future__ import annotations

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs",
    "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments",
    "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription",
    "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "ReferencedPatientSequence",
    "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
)  # fmt: skip
"""C.7.1: Patient, Clinical Trial Subject."""

STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence", "StudyID", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "StudyDescription", "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy", "RequestingService", "ReferencedStudySequence",
    "ProcedureCodeSequence", "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge",
    "PatientSize", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies",
    "SmokingStatus", "PregnancyStatus", "LastMenstrualDate", "PatientState", "Occupation",
    "AdditionalPatientHistory", "AdmissionID", "PatientSexNeutered",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "TimezoneOffsetFromUTC",
)  # fmt: skip
"""C.7.2: General Study, Patient Study, Clinical Trial Study; and the time zone of all times."""

SERIES = (
    "Laterality", "BodyPartExamined", "AnatomicRegionSequence", "ProtocolName", "PatientPosition",
    "AnatomicalOrientationType", "PerformingPhysicianName", "OperatorsName",
    "RequestAttributesSequence", "PerformedProcedureStepID", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime", "PerformedProcedureStepDescription",
    "PerformedProtocolCodeSequence", "ClinicalTrialCoordinatingCenterName",
    "ClinicalTrialSeriesID", "ClinicalTrialSeriesDescription",
)  # fmt: skip
"""C.7.3: General Series, without what identifies or dates the source series."""

EQUIPMENT = (
    "Manufacturer", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
    "StationName", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "GantryID",
    "SpatialResolution", "DateOfLastCalibration", "TimeOfLastCalibration", "DeviceUID",
)  # fmt: skip
"""C.7.5.1: the scanner; what computed is in Contributing Equipment Sequence."""

FRAME_OF_REFERENCE = ("FrameOfReferenceUID", "PositionReferenceIndicator")
"""C.7.4.1."""

CONTRAST = (
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusRoute",
    "ContrastBolusAdministrationRouteSequence", "ContrastBolusVolume", "ContrastBolusStartTime",
    "ContrastBolusStopTime", "ContrastBolusTotalDose", "ContrastFlowRate", "ContrastFlowDuration",
    "ContrastBolusIngredient", "ContrastBolusIngredientConcentration",
)  # fmt: skip
"""C.7.6.4."""

SCANNING = (
    "KVP", "ScanOptions", "DataCollectionDiameter", "ReconstructionDiameter",
    "DistanceSourceToDetector", "DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight",
    "RotationDirection", "FilterType", "FilterMaterial", "GeneratorPower", "FocalSpots",
    "ConvolutionKernel", "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth",
    "TableSpeed", "TableFeedPerRotation", "SpiralPitchFactor", "DataCollectionCenterPatient",
    "ReconstructionTargetCenterPatient", "ExposureModulationType", "AcquisitionType",
    "ReconstructionAlgorithm",
)  # fmt: skip
"""C.8.2.1: how the scanner was set."""

TECHNIQUE = (
    *SCANNING, "AcquisitionNumber", "TemporalPositionIdentifier", "NumberOfTemporalPositions",
    "NominalPercentageOfCardiacPhase", "RescaleType", "BurnedInAnnotation",
    "RecognizableVisualFeatures",
)  # fmt: skip
"""C.8.2.1 and others: true of a slice between two others only where both say the same."""

EXPOSURE = (
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ExposureTime", "XRayTubeCurrent",
    "Exposure", "ExposureInuAs", "ExposureTimeInuS", "XRayTubeCurrentInuA", "CTDIvol",
    "CTDIPhantomTypeCodeSequence", "EstimatedDoseSaving", "IrradiationEventUID", "TriggerTime",
    "TablePosition",
)  # fmt: skip
"""C.8.2.1: when and with what dose a slice was measured, which no synthetic slice was."""

WINDOW = (
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction",
    "VOILUTSequence",
)  # fmt: skip
"""C.11.2: presets of display, from the nearer neighbour."""

LOSSY = (
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""C.7.6.1.1.5: once lossy, always lossy."""

EMPTY_ALLOWED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "SeriesNumber", "Manufacturer",
    "PositionReferenceIndicator", "KVP", "AcquisitionNumber", "PatientPosition", "SliceThickness",
    "InstanceNumber",
)  # fmt: skip
"""Type 2 (and 2C) of the CT Image IOD (PS3.3 A.3): present, if need be without a value."""

UNPAIRED = frozenset((
    "ABDOMEN", "ABDOMENPELVIS", "AORTA", "BACK", "BLADDER", "BRAIN", "CEREBELLUM", "CERVIX",
    "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CIRCLEOFWILLIS", "COCCYX", "COLON",
    "CORONARYARTERY", "CSPINE", "CTSPINE", "DUODENUM", "ESOPHAGUS", "FACE", "GALLBLADDER", "HEAD",
    "HEADNECK", "HEART", "ILEUM", "ILIUM", "JAW", "JEJUNUM", "LARYNX", "LIVER", "LSPINE",
    "LSSPINE", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NECKCHESTABDOMEN",
    "NECKCHESTABDPELV", "NOSE", "PANCREAS", "PELVIS", "PENIS", "PHARYNX", "PROSTATE", "RECTUM",
    "SCALP", "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THYMUS", "THYROID",
    "TLSPINE", "TONGUE", "TRACHEA", "TSPINE", "URETER", "URETHRA", "UTERUS", "VAGINA", "VULVA",
    "WHOLEBODY",
))  # fmt: skip
"""Body Part Examined without a side (PS3.16 L), for which Laterality has no place (C.7.3.1)."""

WHOLE_SERIES = (*PATIENT, *STUDY, *SERIES, *EQUIPMENT, *FRAME_OF_REFERENCE, *CONTRAST)
"""What every slice of the derived series has in common with its source."""
