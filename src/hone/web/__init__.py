"""The pages in the browser: plain HTML, CSS and modules that talk HTTP with the server; nothing here needs torch."""
