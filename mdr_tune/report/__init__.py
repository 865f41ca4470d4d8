"""What a person reads of a sweep: tables and sentences from recorded trials."""
