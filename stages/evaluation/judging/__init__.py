"""A judge model for answers that no rule can score.

parameters  which server, and what it may cost
prompts     what it is asked, and how its reply is read
judge       who is asked about which answer
record      what it said, and how often it agrees with the rules
"""
