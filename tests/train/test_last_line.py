"""What `dfdc train` says when it is done."""

from train.run import in_words


def test_the_last_line_is_a_sentence_and_no_dict():
    metrics = {"faces": 120, "auc": 0.9, "log_loss": 0.41238, "log_loss_balanced": 0.4, "note": "chosen on these faces"}
    told = in_words(metrics | {"log_loss_balanced_uncalibrated": 0.5, "calibration": {"scale": 1.0, "shift": 0.0}})
    assert told == (
        "on 120 validation faces AUC 0.9000 and log loss 0.4124, with the classes balanced 0.4000 (0.5000 before "
        "calibration); chosen on these faces"
    )
