"""Bridge to tf_keras, the Keras that TFMOT takes. Imports core and export."""
