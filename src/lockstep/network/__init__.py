"""One network: preprocess → body → head. Ordinary ``torch.nn`` modules, written for one network alone."""
