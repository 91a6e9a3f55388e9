"""The online path: one card transaction in, allow, review or deny out, behind `mlflow models serve`.

In the order of a request's way: `transactions` (what may be posted) → `snapshot` (what is known of the card and the
terminal) → `features` (the model's inputs) → `kernels` (the score) → `decisions` (what to do about it), held together
by `model`; `batch` is the same for a whole table. Around it: `windows` and `nightly` make the features, `training` and
`compiling` the model, `registry` logs it, `fetching` and `serving` run the server, `client` asks it.
"""
