"""What hosts keep and nothing needs any more, shown and deleted over the API of pyinfra."""
