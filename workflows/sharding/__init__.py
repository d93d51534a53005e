"""Prediction and evaluation in parts: by several processes, machines, or a Ray cluster.

manifest.py     what all parts of a run have in common, and which pictures are whose
parquet.py      one file a part, whole or absent; all of them read back in order
evaluation.py   matches of pictures, accumulated at the end
prediction.py   instances of pictures (picture_rows.py), one results file (merged_pictures.py)
on_ray.py       the same parts by the workers of a cluster
"""
