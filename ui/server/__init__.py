"""Between the network and Gradio: who may ask, for what, how often, and what is kept of it afterwards."""
