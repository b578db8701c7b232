"""Programs beside an exported file that run it on images: in Python, Kotlin and Swift."""
