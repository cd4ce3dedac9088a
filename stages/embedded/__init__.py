"""The embedded shapes world: small scenes whose pictures, questions and answers are known by construction."""
