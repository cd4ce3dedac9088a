"""The handshake: does a server read what this process would read?"""
