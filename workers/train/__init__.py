"""``lga train``: manifest -> Sample -> Batch -> Prediction -> LossTerms -> checkpoint -> version, on Ray Train."""
