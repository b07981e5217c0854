"""The ledger of a campaign: plan, claim, record, finish.

Every function works in the caller's transaction and is set-based: no object per recipient.
"""
