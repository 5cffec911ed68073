"""Result files as a validated document, tables, figures and one page."""
