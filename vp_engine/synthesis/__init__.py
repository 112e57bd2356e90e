"""Label maps to images: each random step draws its parameters first and then applies them."""
