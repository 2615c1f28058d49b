"""What a page must know of the server to offer only what it can do."""

from __future__ import annotations

from typing import Any

from hone import __version__
from hone.server.asks import CHAT
from hone.server.service import Service


def info_of(service: Service) -> dict[str, Any]:
    """The model's name, whether it sees, knows tools and reasons, which parameters are taken, and how it answers."""
    template, settings = service.encoder.template, service.settings
    return {
        "version": __version__,
        "model": service.name,
        "models": [service.name, *service.session.encoders],
        "template": getattr(template, "name", ""),
        "sees": service.sees,
        "tools": getattr(template, "tools", None) is not None or bool(getattr(template, "describes", False)),
        "thinks": getattr(template, "thinking", None) is not None,
        "context": service.session.engine.context,
        "parameters": sorted(CHAT),
        "settings": {
            name: getattr(settings, name)
            for name in ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "skip_special_tokens")
        },
    }
