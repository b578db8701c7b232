"""TFLite files: converter, patches, runtime, on-device training. Imports export."""
