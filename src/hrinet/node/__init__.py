"""The DICOM node: receives series, has their gaps filled, sends the derived series on.

Data flows one way: ``receiver`` takes objects off the network into ``objects`` (files) and
``queue`` (SQLite), ``service`` watches for complete series, ``work`` fills their gaps in a child
process, ``outbox`` hands the result to a peer of ``peers``. What was acknowledged is on disk, and
every step can be repeated; see ``docs/node.md`` for the states.
"""
