"""The flags of `train` for a run of a second."""

QUICK = ["train", "--epochs", "2", "--width", "16", "--depth", "2", "--per-class", "12", "--test-per-class", "5"]
QUICK += ["--batch", "32", "--rate", "0.2", "--tpt-accuracy", "0.3", "--measurements", "2", "--layers", "blocks.0"]
