"""From files to the records that are fitted: profile, kinds of columns, sample, splits and schema."""
