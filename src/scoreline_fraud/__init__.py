"""The online path: one card transaction in, allow, review or deny out, behind `mlflow models serve`.

`serving` is what travels inside the model, in the order of a request's way: `transactions` (what may be posted) →
`snapshot` (what is known of the card and the terminal) → `features` (the model's inputs) → `kernels` (the score) →
`decisions` (what to do about it), held together by `model`; `batch` is the same for a whole table. Around it:
`features` by night, `training`, the `server` that loads the model and the `client` that asks it.
"""
