"""A campaign to everybody: ours against django-anymail, the SDK, the streaming floor and the wire."""
