"""What the programs that test FCUS-rPPG's claims share: runs, their storage, statistics, tables."""
