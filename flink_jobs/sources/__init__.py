"""Where events come from, as Flink reads them."""
