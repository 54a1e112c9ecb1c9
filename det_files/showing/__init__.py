"""What a notebook shows of a trained model: tables, pictures and answers, each in one call."""
