# SPDX-License-Identifier: Apache-2.0
# Acceptance by draft position, per kind of text: rows of study `domains` in
# results/mtp.csv (golden/study_mtp.py).
#   gnuplot -e "out='F.svg'" notebooks_data/plots/mtp_position.gp
if (!exists("out")) out = 'mtp_position.svg'
if (!exists("table")) table = 'notebooks_data/results/mtp.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' enhanced
set output out
set datafile separator ','
row(d, i) = strcol(3) eq 'domains' && strcol(5) eq 'domain' && strcol(6) eq d && \
            strcol(7) eq 'acceptance' && strcol(8) eq sprintf('%d', i)
kinds = "prose code arithmetic table 'tool call'"
set title 'Drafts accepted where all before them in the round were (greedy, rounds of 4, 95 %)'
set xlabel 'position of the draft in its round'
set ylabel 'accepted'
set yrange [0:1.04]
set xrange [0.5:4.7]
set xtics 1
set ytics 0.1
set grid ytics lc rgb '#dddddd'
set key bottom left Left reverse samplen 2
colour(k) = word("#1b6ca8 #d1495b #3c8031 #e08e1b #6a4c93", k)
plot for [k=1:5] for [i=1:4] table using \
    (row(word(kinds, k), i) ? i + 0.09 * (k - 3) : NaN):11:12:13 with yerrorbars \
    lc rgb colour(k) pt (4 + k) ps 0.8 lw 1.6 title (i == 1 ? word(kinds, k) : '')
