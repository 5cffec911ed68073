"""Result files as a validated document, a table and figures."""
