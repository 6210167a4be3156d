"""Access: who calls, and what they may.

Start with caller.py; authenticator.py finds the caller of a credential, needs.py says what each
RPC and route needs.
"""
