"""The exchange as a service: a place on the web where hubs of overlays publish and other clusters join.

`jobs` is what it keeps (SQLite), `actions` what may be asked, `server` how that goes over HTTP; `docs/exchange.md` is
for those who run it. The client's side is `network.overlay.web_service`.
"""
