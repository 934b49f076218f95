"""What an audit trains: for one shard, models that saw its forgotten samples, and models that never did."""
