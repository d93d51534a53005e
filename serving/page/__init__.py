"""One small web page: a picture in, instances drawn; models behind it or inside it."""
