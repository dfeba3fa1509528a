"""The networks of the thesis, one a file; every module but options and family needs torch."""
