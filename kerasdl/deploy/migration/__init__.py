"""Models and files of tf_keras as Keras 3 models. Imports keras2 and export; no room imports it."""
