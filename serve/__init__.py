"""The web page and the HTTP API: videos come in over HTTP, the ensemble of `dfdc predict` answers."""
