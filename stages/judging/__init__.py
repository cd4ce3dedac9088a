"""A judge model for answers that no rule can score.

parameters  which server, and what it may cost
prompts     what it is asked, and how its reply is read
judge       which answers it is asked about, and what its verdicts do
"""
