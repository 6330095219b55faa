"""Pages for people: the live page with the document that it polls, and the page of the OpenAPI document."""
