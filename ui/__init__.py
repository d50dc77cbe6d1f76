"""The studio in the browser. Gradio is loaded here first, where no proxy of the person's can stop it."""

from studio.network import proxies

with proxies.set_aside():
    import gradio as gradio
