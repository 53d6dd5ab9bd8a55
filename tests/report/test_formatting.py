from dataclasses import replace

from lus_ray.evaluation.schema import ImageSpread
from lus_ray.report import formatting


def test_the_table_of_single_images_says_where_not_all_define_a_metric(mask_report):
    contents = mask_report.contents
    spreads = {
        "pixel_accuracy": ImageSpread(mean=0.5, std=0.25, num_images=8),
        "iou A-line": ImageSpread(mean=0.125, std=0.0, num_images=3),
        "iou B-line": ImageSpread(mean=None, std=None, num_images=0),
    }
    [row] = contents.arms_of("sparse masks")
    for error, printed in ((0.01, "1.0"), (None, formatting.ABSENT)):
        row = replace(row, per_image=spreads, calibration_error=error)
        table = formatting.image_table(replace(contents, arms=(row,)), "sparse masks")
        assert table[0][1:5] == ["pixel accuracy, %", "A-line IoU, %", "B-line IoU, %", "images"]
        values = ["50.0 ± 25.0", "12.5 ± 0.0 (3)", formatting.ABSENT, "8", printed]
        assert table[1] == ["sparse", *values]
