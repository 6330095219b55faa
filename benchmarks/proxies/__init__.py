"""Large requests through real proxies: is every answer whole, or an error that the client sees?"""
