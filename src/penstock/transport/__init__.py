"""Between processes of one machine: memory that both read, and connections that hand it over."""
