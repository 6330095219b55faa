"""How well the default model finds anomalies: labelled public sets, through the files that training writes."""
