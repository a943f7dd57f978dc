//! Bad input is a dead letter with a reason and its record untouched; bad configuration is refused with what to write.
