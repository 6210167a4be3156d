"""Operations: what people and monitoring systems see, and may change while it runs."""
